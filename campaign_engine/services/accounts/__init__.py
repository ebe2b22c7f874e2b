"""The WhatsApp accounts that send: their registration, whether they may send (activation), and how they are (health,
watching for silence). Health informs people and never stops a send.
"""
