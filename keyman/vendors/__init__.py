"""Ways to the vendors: signers, transports, error translation; for providers and stores."""
