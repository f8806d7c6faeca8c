"""Searches: runs whose settings Optuna chooses. (Optuna is an extra: what needs it is imported when a search begins.)"""
