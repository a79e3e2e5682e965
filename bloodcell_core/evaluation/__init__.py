"""What a network's predictions are worth: metrics, and their intervals by source photo."""
