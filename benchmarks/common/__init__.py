"""What all studies share: how one is declared and run, where results are kept, training, statistics, tables and pictures."""
