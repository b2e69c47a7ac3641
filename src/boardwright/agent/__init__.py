"""The agent: asks for software, takes it from the nearest server, deploys it, and rolls back what is not healthy."""
