"""The transmission experiment's page."""
PUBLISHED = {}
class Examples:
    @staticmethod
    def read(path): return None
def write(workdir, results, examples):
    for e in results['arms']:
        g=e['gamma']; print(e['name'], round(g['estimate'],3), g['ci95'], 'p',g['p'], 'own',round(g['own_rise'],2),round(g['others_rise'],2),[ (c['rows'],round(c['estimate'],2)) for c in e['curve']])
    for c in results['contrasts']: print(c['name'],c['estimate'],c['ci95'])
    return results['verdict']
