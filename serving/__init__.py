"""The doors: command line, HTTP, chat page, MCP."""
