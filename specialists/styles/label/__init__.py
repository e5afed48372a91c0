"""Style `label`: one of the card's labels."""
