"""Recommended defaults from the runs of many tasks, each with the regret it has where it was not derived."""
