"""The live model: gate, promotion, rollback, ledger, and answers of two models side by side."""
