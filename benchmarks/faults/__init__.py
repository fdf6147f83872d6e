"""What happens when something dies, is away, or comes twice. Each module is a command of its own."""
