"""What the README's figures come from: each beside a peer or a limit in the same run."""
