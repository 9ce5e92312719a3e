"""Mask-aware LoRA: what is told of a clip, what an adapter learns from it, and where adapters are kept."""
