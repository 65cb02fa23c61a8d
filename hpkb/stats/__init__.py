"""Estimators and tests that know nothing of stores, miners or pages: arrays in, numbers with their error out."""
