"""What happens when something dies, is unavailable, or runs twice. Each module is a command of its own."""
