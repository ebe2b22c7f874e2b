"""What a campaign says: the shape of its content, and the rendering of its variables for one recipient."""
