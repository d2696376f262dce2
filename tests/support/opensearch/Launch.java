// Starts a real OpenSearch node in this process, with its k-NN plugin for `knn_vector` where the JVM has it.
// Arguments: home directory, HTTP port, transport port. Ends when its standard input does.

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.Plugin;

public class Launch extends Node {
    Launch(Environment environment, List<Class<? extends Plugin>> plugins) {
        super(environment, plugins, false);
    }

    @Override
    protected void configureNodeAndClusterIdStateListener(org.opensearch.cluster.service.ClusterService service) {
        // A hook of its logs that may be set once in a process.
    }

    public static void main(String[] arguments) throws Exception {
        String home = arguments[0];
        Settings settings = Settings.builder()
            .put("cluster.name", "milvusdm-tests")
            .put("node.name", "n1")
            .put("path.home", home)
            .put("path.data", home + "/data")
            .put("path.logs", home + "/logs")
            .put("http.type", "netty4")
            .put("transport.type", "netty4")
            .put("network.host", "127.0.0.1")
            .put("http.port", arguments[1])
            .put("transport.port", arguments[2])
            .put("discovery.type", "single-node")
            .putList("node.roles", "cluster_manager", "data")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .put("action.auto_create_index", true)
            .build();
        Environment environment = InternalSettingsPreparer.prepareEnvironment(
            settings, Map.of(), Path.of(home, "config"), () -> "n1");
        List<Class<? extends Plugin>> plugins = new ArrayList<>();
        for (String name : List.of(
                "org.opensearch.transport.Netty4Plugin",
                "org.opensearch.index.mapper.MapperExtrasPlugin",
                "org.opensearch.knn.plugin.KNNPlugin")) {
            try {
                plugins.add(Class.forName(name).asSubclass(Plugin.class));
            } catch (ClassNotFoundException | NoClassDefFoundError absent) {
                System.err.println(name + " is not there: " + absent);
            }
        }
        Launch node = new Launch(environment, plugins);
        node.start();
        System.out.println("started");
        // Whoever started it holds the other end: when that is gone, so is the node.
        while (System.in.read() >= 0) { }
        System.exit(0);
    }
}
