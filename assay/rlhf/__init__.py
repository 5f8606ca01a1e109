"""Reinforcement learning from a reward: rollouts, PPO and RLOO, and the watch over both."""
