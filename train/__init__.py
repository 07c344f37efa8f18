"""From annotations and features to a checkpoint, and its evaluation."""
