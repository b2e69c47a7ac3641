"""The two groups that are Boardwright itself."""

SERVER_GROUP = "boardwright"
AGENT_GROUP = "boardwright-agent"
RELEASE_GROUPS = (SERVER_GROUP, AGENT_GROUP)
