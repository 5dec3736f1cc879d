"""Settings from the machine and the environment: usable cores, proxies."""
