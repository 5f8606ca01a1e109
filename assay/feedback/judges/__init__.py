"""Language models as judges: questions, who answers them, and what their answers come to."""
