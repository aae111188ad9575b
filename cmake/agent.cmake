# The agent libraries are built freestanding and embedded into the stint binary. See src/agent/.
set(STINT_AGENT_EMBED "")
