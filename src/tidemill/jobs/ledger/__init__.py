"""What a run keeps on disk: its folder, the ledger, the files of sealed segments, and replies found again."""
