"""Launchers of the lab, for engines that queue: several runs packed into one job. `docs/launchers.md` is their page."""
