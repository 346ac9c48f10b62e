"""Real logs beside the repository, compared with what was really said."""
