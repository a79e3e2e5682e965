"""From mistakes to better labels: what to look at first, which labels are likely wrong, what training again changed."""
