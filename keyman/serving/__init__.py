"""How applications fetch: finished answers, the socket they come through, and the API around it."""
