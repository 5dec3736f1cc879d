"""Tests that the README, CONTRIBUTING and the pages of docs/ match the code."""
