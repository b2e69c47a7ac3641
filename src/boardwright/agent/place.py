"""Where a board says that it sits, against where the cluster has signed that it sits (pure; design section 4).

Rules:

* The certificate's place is the cluster's word, the configuration's is the board's own: its location source. A card
  that was moved, or the folder of another slot, shows in that the two differ.
* Such a board downloads, so that nothing is lost by waiting, and activates nothing: what it would run is what another
  slot should. The reason stands in its reports, in `boards` and in the log.
* Which of them is right a person decides: correct the configuration or certify the board anew, then restart its agent.
"""

from boardwright.model.location import Location

CONFLICT = "location-conflict"  # the named value with which the reason begins


def location_conflict(said: Location, certified: Location) -> str:
    """Why nothing may take over on this board; '' if its own word and its certificate agree."""
    if said == certified:
        return ""
    return (
        f"{CONFLICT}: its configuration says {said}, its certificate {certified}; nothing is activated until both "
        "agree and the agent was restarted"
    )
