"""What the experiments share: arms with resumable results, training, judging samples, how figures look."""
