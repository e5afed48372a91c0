"""What outlives one turn: checkpoints of a thread, facts about a user."""
