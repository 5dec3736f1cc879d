"""Let ``img2poem[local]`` bring the models: a hook for hatchling that only ``make release`` switches on.

The extra must be installable from a clone or a source distribution too, where no package ``img2poem-lite`` may be
found. So the wheel of a release alone requires it, of its own version.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RequireLite(BuildHookInterface):  # type: ignore[type-arg]
    """Adds a requirement to the extra ``local`` of the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add it; ``version`` is hatchling's name for the kind of wheel, as ``standard``."""
        requirement = f"img2poem-lite=={self.metadata.version}; extra == 'local'"
        build_data["dependencies"].append(requirement)
