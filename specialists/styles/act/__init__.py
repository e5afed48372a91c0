"""Style `act`: calls of the specialist's tools."""
