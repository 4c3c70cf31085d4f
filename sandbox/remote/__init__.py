"""The parts of SandboxClient, by subject."""
