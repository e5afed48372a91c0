"""How a specialist answers: a file or folder for each style, and the table of them."""
