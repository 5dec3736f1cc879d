"""Tell what pip-audit knows of the installed packages: ``audit.py PIP_AUDIT SITE_PACKAGES``.

Exit status 1 when a package has a known hole that an update closes. What could not be looked up, where the network
forbids it, is counted and said, and fails nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main(command: str, packages: str) -> int:
    """Return the exit status."""
    done = subprocess.run(
        [command, "--progress-spinner", "off", "--format", "json", "--path", packages], capture_output=True, text=True
    )
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"pip-audit: NOTHING WAS AUDITED, the database could not be asked: {reason}")
        return 0
    skipped = [package for package in found if "skip_reason" in package]
    holes = [(package, hole) for package in found for hole in package.get("vulns", [])]
    print(f"pip-audit: {len(found) - len(skipped)} packages audited, {len(skipped)} NOT AUDITED, {len(holes)} holes")
    if skipped:
        print(f"  not audited: {skipped[0]['name']} and others: {skipped[0]['skip_reason']}")
    for package, hole in holes:
        closed = ", ".join(hole["fix_versions"]) or "no release"
        print(f"  {package['name']} {package['version']}: {hole['id']}, closed in {closed}")
    return int(any(hole["fix_versions"] for _, hole in holes))


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
