"""Imitations of the outside world, spoken to over real HTTP.

A sandbox is a working service in a thread or a process of its own: it remembers, dedupes, lags,
refuses and breaks as the vendor's documents say the real one may, and where they say nothing it
takes its answer from a seed. It imports nothing from the rest of the project, so that a mistaken
belief about the vendor can't hide in shared code.

    server.py         the HTTP listener every sandbox stands on
    faults.py         lost answers, truncated bodies, throttling … by rule and by seed
    questions.py      what a vendor's documents leave open, and how a seed settles it
    doors.py          what tests in another process do to a sandbox

    oci_genai.py      OCI Generative AI: `OciGenaiSandbox`; its questions are in behaviour.py
    oci_identity.py   what surrounds an OCI workload: metadata service, federation, pod tokens
    oci_vault.py      the secrets of an OCI vault, both services: `OciVaultSandbox`
    google.py         tokens of every kind, and Vertex AI behind them: `GoogleSandbox`
    openai.py         the Admin API, and inference behind its keys: `OpenAISandbox`
    hashicorp_vault.py   KV version 2, tokens, policies, sign-ins: `HashicorpVaultSandbox`
"""
