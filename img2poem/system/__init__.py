"""What the machine and the environment allow the process: cores, proxies."""
