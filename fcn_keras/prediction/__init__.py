"""An image becomes a mask, and a mask becomes a picture."""
