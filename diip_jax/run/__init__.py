"""What keeps a long run over many files going: work ahead and behind, its pace, signals, the folder, the summary."""
