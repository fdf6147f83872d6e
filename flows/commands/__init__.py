"""What each command does; uses views and the floor below."""
