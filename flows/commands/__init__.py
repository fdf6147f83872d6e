"""The work of each command. Uses views and the floor below."""
