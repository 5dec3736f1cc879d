"""The README, CONTRIBUTING and the pages of docs/ against what is there."""
