"""The suite: is each clause true (standing), and does a target obey it (verdict)."""
