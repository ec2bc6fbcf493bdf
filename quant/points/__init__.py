"""Operating points: statistics, choice, evaluation, results."""
