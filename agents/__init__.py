"""The LangGraph state machine, and the one assembler of a team."""
