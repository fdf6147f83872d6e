"""`graft init`: the files of a project for a user's own repository, made from those that Graft ships."""
