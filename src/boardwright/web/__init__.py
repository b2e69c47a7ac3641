"""Pages over the API client. Nobody lives here yet; the room stands for the layer rules."""
