"""The next experiments: what to run, and what each run would settle; and what is known of a configuration."""
