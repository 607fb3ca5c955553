"""A folder that nobody has described becomes a YAML file."""
