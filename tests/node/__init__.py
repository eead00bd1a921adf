"""Node.js as a foreign client."""
